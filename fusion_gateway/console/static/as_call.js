// A request as one would make it elsewhere.
import { about } from "./api.js";
import { copyable } from "./controls.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export async function asCall(method, request) {
  const { gateway, tls } = await about;
  const json = JSON.stringify(request);
  const python = [
    "from google.protobuf.json_format import Parse",
    "from protos.marquee.client import Client",
    `from protos.marquee.v1.recommender_pb2 import ${method}Request`,
    "",
    `with Client(${JSON.stringify(gateway.replace(/^dns:\/\/\//, ""))}${tls ? ", tls=True" : ""}) as gateway:`,
    `    print(gateway.${method}(Parse(${JSON.stringify(json)}, ${method}Request())))`,
  ];
  return [
    copyable(
      "grpcurl",
      `grpcurl ${tls ? "" : "-plaintext "}-d ${quoted(json)} ${gateway} marquee.v1.Recommender/${method}`,
    ),
    copyable("Python", python.join("\n")),
    copyable(
      "curl",
      `curl ${location.origin}/marquee.v1.Recommender/${method} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`,
    ),
  ];
}
