// Eclipse Tahu's decoder: reads one base64 payload a line and answers with what it found, one JSON object a line.
const { get } = require("sparkplug-payload");
const payloads = get("spBv1.0");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const found = payloads.decodePayload(Buffer.from(line, "base64"));
  const plain = (value) => (value !== null && typeof value === "object" && "low" in value ? Number(value.toString()) : value);
  console.log(JSON.stringify({
    seq: plain(found.seq ?? null),
    metrics: (found.metrics || []).map((each) => [each.name ?? null, plain(each.value ?? null), !!each.isHistorical]),
  }));
});
