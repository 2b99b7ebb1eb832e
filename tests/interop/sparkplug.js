// Eclipse Tahu's decoder: a line is verb, device and base64 payload; the answer is what it found, one JSON object a line.
// Its decoder asks for a datatype with every value, which only births carry: as a host has to, we remember theirs, by name and by alias.
const { get } = require("sparkplug-payload");
const { Payload } = require("sparkplug-payload/lib/sparkplugPayloadProto").org.eclipse.tahu.protobuf;
const payloads = get("spBv1.0");
const births = {};
const plain = (value) => (value !== null && typeof value === "object" && "low" in value ? Number(value.toString()) : value);

function completed(bytes, birth) {
  const raw = Payload.decode(bytes);
  for (const metric of raw.metrics) {
    const known = birth[metric.name || Number(metric.alias)];
    metric.name = known.name;
    metric.datatype = known.type;
  }
  return Payload.encode(raw).finish();
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [verb, device, body] = line.split(" ");
  let bytes = Buffer.from(body, "base64");
  if (verb === "NBIRTH" || verb === "DBIRTH") {
    births[device] = {};
    for (const { name, alias, datatype } of Payload.decode(bytes).metrics) {
      births[device][name] = births[device][Number(alias)] = { name, type: datatype };
    }
  } else if (verb.endsWith("DATA")) {
    bytes = completed(bytes, births[device]);
  }
  const found = payloads.decodePayload(bytes);
  console.log(JSON.stringify({
    seq: plain(found.seq ?? null),
    metrics: (found.metrics || []).map((each) => [each.name ?? null, plain(each.value ?? null), plain(each.timestamp), !!each.isHistorical]),
  }));
});
