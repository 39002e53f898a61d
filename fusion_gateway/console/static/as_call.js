// A request as one would make it elsewhere.
import { about } from "./api.js";
import { copyable } from "./controls.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export async function asCall(method, request) {
  const { gateway, tls } = await about;
  const json = JSON.stringify(request);
  const python = [
    "import grpc",
    "from google.protobuf.json_format import Parse",
    "from protos.marquee.v1 import recommender_pb2 as pb",
    "from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub",
    "",
    tls ? `channel = grpc.secure_channel(${JSON.stringify(gateway)}, grpc.ssl_channel_credentials())` : `channel = grpc.insecure_channel(${JSON.stringify(gateway)})`,
    `request = Parse(${pythonText(json)}, pb.${method}Request())`,
    `print(RecommenderStub(channel).${method}(request, timeout=2))`,
  ];
  return [
    copyable("grpcurl", `grpcurl ${tls ? "" : "-plaintext "}-d ${quoted(json)} ${gateway} marquee.v1.Recommender/${method}`),
    copyable("Python", python.join("\n")),
    copyable("curl", `curl ${location.origin}/marquee.v1.Recommender/${method} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`),
  ];
}

/** JSON's escapes are Python's, too, but for pairs of surrogates, which stand here as they are. */
const pythonText = (text) => JSON.stringify(text);
