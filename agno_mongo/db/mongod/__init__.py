"""The mongod of an embedded server: which program, on which socket, how it is started, found again and ended.

See :mod:`agno_mongo.db.embedded_server`.
"""
