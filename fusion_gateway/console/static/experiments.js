// Which policy wins, and how sure that is: what GetOutcomes says, as tables and over time.
import { change, state } from "./address.js";
import { call, CallError, inWords, latest } from "./api.js";
import { choice } from "./controls.js";
import { day, h, number, say, table } from "./dom.js";
import { overTime } from "./over_time.js";

const TIMEOUT_MS = 60000;
const DAY = 86400;
const METRICS = ["click", "like", "purchase", "view", "watch-time", "rating"];
const DAYS = ["1", "7", "28", "90"];
const PARTS = [
  ["", "undivided"],
  ["cohort", "events of the user before"],
  ["version", "versions of models"],
  ["scenario", "scenarios"],
];
const BROKEN = 0.001;

export function show(main) {
  const report = h("div", { "aria-live": "off" });
  const chosen = () => ({
    metric: state().get("metric") || METRICS[0],
    days: DAYS.includes(state().get("days")) ? state().get("days") : "7",
    by: state().get("by") ?? "",
  });
  const failed = (error) => report.replaceChildren(h("p", { role: "alert" }, inWords(error)));
  const refresh = latest(async (signal) => {
    const { metric, days, by } = chosen();
    report.replaceChildren(h("p", { class: "muted" }, "Reading the log of what was served …"));
    const until = Math.floor(Date.now() / 1000) + 1;
    const request = { metric, by, until, since: until - Number(days) * DAY };
    try {
      const status = await call("GetStatus", {}, { signal });
      const answer = await call("GetOutcomes", request, { signal, timeout: TIMEOUT_MS });
      report.replaceChildren(...reported(answer), estimated(answer, status) ?? "");
      say(`${metric}: ${(answer.arms ?? []).length} policies`);
    } catch (error) {
      // Not again by itself: it would read as much in vain, and keep the gateway busy.
      if (error.code !== "deadline_exceeded") throw error;
      failed(new CallError("too_much", error.message));
    }
  }, failed);
  const pick = (name) => (value) => {
    change({ [name]: value });
    refresh();
  };
  const { metric, days, by } = chosen();
  const metrics = METRICS.map((name) => [name, name.replace("-", " ")]);
  const times = DAYS.map((count) => [count, count === "1" ? "the last day" : `the last ${count} days`]);
  main.replaceChildren(
    h("h1", {}, "Experiments"),
    h(
      "div",
      { class: "choices" },
      choice({ label: "Outcome", value: metric, options: metrics, chosen: pick("metric") }),
      choice({ label: "Answers of", value: days, options: times, chosen: pick("days") }),
      choice({ label: "Divided by", value: by, options: PARTS, chosen: pick("by") }),
      h("button", { type: "button", on: { click: () => refresh() } }, "Read again"),
    ),
    report,
  );
  refresh();
}

function reported(answer) {
  const arms = answer.arms ?? [];
  if (!arms.length)
    return [
      h("p", {}, "No answers to users are logged from that time. ", h("a", { href: "/" }, "Recommend something"), "."),
    ];
  const parts = [...new Set(arms.map((arm) => arm.part ?? ""))];
  return [...warnings(answer), ...parts.map((part) => onePart(answer, part)), about(answer)];
}

/** What takes from the worth of all that follows. */
function warnings(answer) {
  const lines = [];
  if (answer.sampleRatioP < BROKEN)
    lines.push(
      `Users did not come to the policies with the probabilities that were logged (p ${shortest(answer.sampleRatioP)}): something loses users of one policy. Trust no difference until that is found.`,
    );
  if (!answer.arms.some((arm) => arm.drawn))
    lines.push("No policy was drawn: give the policies a split, and there is something to compare.");
  if (answer.userShare < 1) lines.push(`Rates are of a random ${percent(answer.userShare)} of the users.`);
  return lines.map((line) => h("p", { class: "warning" }, line));
}

function onePart(answer, part) {
  const arms = answer.arms.filter((arm) => (arm.part ?? "") === part);
  const compared = arms.filter((arm) => arm.rateDifference);
  const drawn = arms.filter((arm) => arm.drawn);
  const per = answer.metric === "rating" ? "mean rating" : `${answer.metric.replace("-", " ")} per answer`;
  const rates = drawn.map((arm) => series(arms, arm, (each) => each.rate));
  const differences = compared.map((arm) => series(arms, arm, (each) => each.rateDifference));
  return h(
    "section",
    { class: "experiment" },
    part ? h("h2", {}, part) : null,
    sentence(answer, arms),
    ...arms.filter((arm) => arm.note).map((arm) => h("p", { class: "muted" }, `${arm.policy}: ${arm.note}.`)),
    policies(answer, arms, part),
    h(
      "div",
      { class: "charts" },
      overTime(`${capital(per)}, 95 % intervals`, rates),
      overTime(`Difference to ${answer.control}, always-valid intervals`, differences, { zero: true }),
    ),
  );
}

/** Of one policy: by day, what there is. */
function series(arms, arm, of) {
  const days = (arm.days ?? []).filter((each) => of(each));
  return {
    name: arm.policy,
    color: `m${arms.indexOf(arm) % 8}`,
    points: days.map((each) => {
      const { value = 0, low, high } = of(each);
      return { time: Number(each.time), value, low: low ?? value, high: high ?? value };
    }),
  };
}

/** Who wins, in words. */
function sentence(answer, arms) {
  const said = arms
    .filter((arm) => arm.rateDifference)
    .map((arm) => {
      const { low = 0, high = 0, pValue = 0 } = arm.rateDifference;
      const verdict = low > 0 ? "is better than" : high < 0 ? "is worse than" : "is not yet known to differ from";
      return `${arm.policy} ${verdict} ${answer.control} (p ${shortest(pValue)})`;
    });
  if (said.length) return h("p", { class: "sum" }, `${said.join("; ")}.`);
  return null;
}

/** Columns of the table; estimates of policies that were not served can stand beside what was measured. */
const COLUMNS = [
  ["Users", (arm) => whole(arm.users)],
  ["Answers", (arm) => whole(arm.answers)],
  ["Shown", (arm) => whole(arm.impressions)],
  ["Outcomes", (arm) => whole(arm.outcomes)],
  ["Rate", (arm) => withInterval(arm.rate)],
  ["NDCG of what was chosen", (arm) => withInterval(arm.ndcg)],
  ["Difference", (arm) => withInterval(arm.rateDifference, true)],
  ["p, always valid", (arm) => (arm.rateDifference ? shortest(arm.rateDifference.pValue) : "")],
  ["Difference of NDCG", (arm) => withInterval(arm.ndcgDifference, true)],
  ["Best with", (arm) => (arm.probabilityBest === undefined ? "" : percent(arm.probabilityBest))],
  ["More users", (arm) => (arm.moreUsers === undefined ? "" : whole(arm.moreUsers))],
];

function policies(answer, arms, part) {
  const role = (arm) => (!arm.drawn ? "not drawn" : arm.policy === answer.control ? "control" : "");
  const row = (arm, index) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("span", { class: `swatch m${index % 8}`, "aria-hidden": "true" }),
        arm.policy,
        role(arm) ? h("span", { class: "muted" }, ` (${role(arm)})`) : null,
      ),
      COLUMNS.map(([, cell]) => h("td", {}, cell(arm))),
    );
  const heads = ["Policy", ...COLUMNS.map(([head]) => head)];
  return table(part ? `Policies, ${part}` : "Policies", heads, arms.map(row));
}

/** Of the policies that were published with one: what an answer was to earn, and what it has earned. */
function estimated(answer, status) {
  const rows = (status.policySettings ?? []).flatMap(({ name, estimates = [] }) =>
    estimates
      .filter(({ protocol }) => protocol.includes(` ${answer.metric} an answer`))
      .map(({ rate, protocol }) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          h("td", {}, withInterval(rate)),
          h("td", {}, measured(answer, name)),
          h("td", {}, protocol),
        ),
      ),
  );
  if (!rows.length) return null;
  const heads = ["Policy", "Estimated", "Measured", "How it was estimated"];
  return h("section", { class: "experiment" }, h("h2", {}, "Estimated before it was served"), table("Off-policy estimates", heads, rows));
}

/** All of the policy's answers together only where they are not divided. */
function measured(answer, policy) {
  if (answer.by) return "see above, by part";
  const arms = (answer.arms ?? []).filter((arm) => arm.policy === policy);
  const arm = arms.find((each) => each.drawn) ?? arms[0];
  return arm ? withInterval(arm.rate) : "not served in this time";
}

function about(answer) {
  const capped = answer.arms.reduce((sum, arm) => sum + Number(arm.cappedAnswers ?? 0), 0);
  const hours = number(answer.windowSeconds / 3600, 0);
  const lines = [
    `Answers from ${day(answer.since)} to ${day(answer.until)}. An outcome counts within ${hours} hours after its answer, and for the first answer only that led to it; in NDCG one at rank r counts 1 / log2(r + 1).`,
    ...answer.arms.filter((arm) => arm.comparedSince).map(comparedOver),
    answer.metric === "rating"
      ? "The rate is the mean of the ratings, of which there are as many as outcomes; users are those with one."
      : "The rate is of outcomes per answer.",
    "Intervals are by user, for one look: the delta method. Differences have a mixture sequential probability ratio test instead, so that one may look every day, and stop once p is below 0.05.",
    "Best with: the probability that a policy's rate is the highest of those that were drawn at the end, over the time of all of them, for normal estimates and a flat prior. It holds for one look; decide by the difference.",
    `More users: of both policies together, until the interval of the difference is ±${percent(answer.precision)} of the control's rate.`,
    answer.sampleRatioP === undefined
      ? ""
      : `Numbers of users are as the logged probabilities say with p ${shortest(answer.sampleRatioP)}.`,
    capped
      ? `Of a user, the first ${answer.maxAnswersPerUser} answers of a policy count in rates: ${whole(capped)} answers beyond do not.`
      : "",
    Number(answer.anonymousAnswers ?? 0)
      ? `${whole(answer.anonymousAnswers)} answers to nobody in particular are left out.`
      : "",
  ];
  return h(
    "details",
    { class: "how-measured", open: true },
    h("summary", {}, "How this is measured"),
    h("ul", {}, lines.filter(Boolean).map((line) => h("li", {}, line))),
  );
}

const comparedOver = ({ policy, part, comparedSince, comparedUntil }) =>
  `${policy}${part ? ` (${part})` : ""} is compared over the time in which it and the control were both drawn: ${day(comparedSince)} to ${day(comparedUntil)}.`;

function withInterval(found, signed = false) {
  if (!found) return "";
  const { value = 0, low, high } = found;
  const text = (each) => (signed && each > 0 ? "+" : "") + number(each, 4);
  if (low === undefined && high === undefined) return text(value);
  return [text(value), h("span", { class: "muted interval" }, `${text(low ?? 0)} to ${text(high ?? 0)}`)];
}

const whole = (text) => Number(text ?? 0).toLocaleString("en");
const percent = (share) => `${number(100 * share, 1)} %`;
const shortest = (p = 0) => (p < 0.001 ? "below 0.001" : number(p, 3));
const capital = (text) => text[0].toUpperCase() + text.slice(1);
