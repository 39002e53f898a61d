// A request as one would make it elsewhere.
import { about, hasToken } from "./api.js";
import { copyable } from "./controls.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The token itself is not shown: it is taken from the environment. */
export async function asCall(method, request) {
  const { gateway, tls } = await about;
  const json = JSON.stringify(request);
  const header = hasToken() ? '-H "Authorization: Bearer $MARQUEE_TOKEN" ' : "";
  const address = JSON.stringify(gateway.replace(/^dns:\/\/\//, ""));
  const options = [address, tls && "tls=True", header && 'token=os.environ["MARQUEE_TOKEN"]'].filter(Boolean);
  const python = [
    ...(header ? ["import os", ""] : []),
    "from google.protobuf.json_format import Parse",
    "from protos.marquee.client import Client",
    `from protos.marquee.v1.recommender_pb2 import ${method}Request`,
    "",
    `with Client(${options.join(", ")}) as gateway:`,
    `    print(gateway.${method}(Parse(${JSON.stringify(json)}, ${method}Request())))`,
  ];
  return [
    copyable(
      "grpcurl",
      `grpcurl ${tls ? "" : "-plaintext "}${header}-d ${quoted(json)} ${gateway} marquee.v1.Recommender/${method}`,
    ),
    copyable("Python", python.join("\n")),
    copyable(
      "curl",
      `curl ${location.origin}/marquee.v1.Recommender/${method} \\\n  -H 'Content-Type: application/json' ${header}\\\n  -d ${quoted(json)}`,
    ),
  ];
}
