// Serves @copilotkit/aimock on a free loopback port until stdin closes, so that no server outlives the tests,
// not even when they are killed. Argument: the path of the package's entry module. The first line on stdout is the URL.
import { pathToFileURL } from "node:url";

console.log = console.info = console.error; // stdout carries the URL and nothing else

const { LLMock } = await import(pathToFileURL(process.argv[2]).href);
const url = await new LLMock({ host: "127.0.0.1", port: 0, logLevel: "warn" }).start();
process.stdin.on("end", () => process.exit(0)).resume();
process.stdout.write(`${url}\n`);
