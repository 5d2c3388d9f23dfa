"""Media as files on disk, under Agno's names."""

from __future__ import annotations

from pathlib import Path

from agno_mongo.media import Audio, Image, from_base64


def download_image(url: str, output_path: str) -> bool:
    """Fetch an image and write it to ``output_path``. Blocks while it does. True, or it raises MediaError."""
    return _written(Image(url=url).get_content_bytes(), output_path)


def download_audio(url: str, output_path: str) -> str:
    """Fetch a sound and write it to ``output_path``, which is returned. Blocks while it does. Raises MediaError."""
    _written(Audio(url=url).get_content_bytes(), output_path)
    return output_path


def save_base64_data(base64_data: str, output_path: str) -> bool:
    """Write what the Base64 stands for to ``output_path``."""
    return _written(from_base64(base64_data), output_path)


def write_audio_to_file(audio: str | bytes, filename: str) -> None:
    """Write a sound, bytes or Base64, to a file."""
    _written(from_base64(audio) if isinstance(audio, str) else audio, filename)


def _written(data: bytes | None, path: str) -> bool:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data or b"")
    return True


__all__ = ["download_audio", "download_image", "save_base64_data", "write_audio_to_file"]
