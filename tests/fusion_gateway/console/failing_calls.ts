// Prints what a Connect client meets in calls that fail, and in one that is let in: URL TOKEN.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { Recommender } from "./protos/marquee/v1/recommender_pb";

const [url, token] = process.argv.slice(2);
const client = createClient(Recommender, createConnectTransport({ baseUrl: url }));
const headers = { authorization: `Bearer ${token}` };

const calls = {
  token: () => client.getStatus({}, { headers }),
  noToken: () => client.getStatus({}),
  limit: () => client.recommend({ k: 0 }, { headers }),
  title: () => client.similarItems({ query: { case: "title", value: "qqqqqqqqqq" } }, { headers }),
  // Sent by hand: with timeoutMs, the client ends the call by itself.
  deadline: () => client.recommend({}, { headers: { ...headers, "Connect-Timeout-Ms": "0" } }),
  size: () => client.recommend({ userId: "x".repeat(5 << 20) }, { headers }),
};
for (const [name, call] of Object.entries(calls)) {
  try {
    await call();
    console.log(name, "OK");
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    console.log(name, Code[code], rawMessage);
  }
}
