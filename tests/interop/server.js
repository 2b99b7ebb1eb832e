// An OPC UA server of another make (node-opcua) with counters that count, for test_interop.py.
// usage: node server.js PORT [PADDING]   PADDING namespaces stand before the one with the variables.
"use strict";
const path = require("node:path");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant, VariantArrayType } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");

const URI = "urn:edge-agent:interop";
const COUNTERS = 50;

async function main() {
  const [port, padding] = [Number(process.argv[2]), Number(process.argv[3] || 0)];
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(process.env.INTEROP_HOME, "pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port, hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityPolicies: [SecurityPolicy.None], securityModes: [MessageSecurityMode.None],
    serverCapabilities: { operationLimits: { maxNodesPerRead: 20, maxMonitoredItemsPerCall: 15 } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  for (let number = 0; number < padding; number += 1) space.registerNamespace(`urn:padding:${number}`);
  const own = space.registerNamespace(URI);
  const line = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Line", nodeId: "s=Line" });
  const counters = [];
  for (let number = 0; number < COUNTERS; number += 1) {
    counters.push(own.addVariable({ componentOf: line, browseName: `Counter${number}`, nodeId: `s=Counter${number}`, dataType: "Int32" }));
  }
  const fixed = {
    Text: [DataType.String, "äöü 漢字"], Flag: [DataType.Boolean, true], Big: [DataType.UInt64, [0xffffffff, 0xffffffff]],
    Double: [DataType.Double, -0.0], NotANumber: [DataType.Double, NaN], Empty: [DataType.String, null],
  };
  for (const [name, [dataType, value]] of Object.entries(fixed)) {
    const variable = own.addVariable({ componentOf: line, browseName: name, nodeId: `s=${name}`, dataType: DataType[dataType] });
    variable.setValueFromSource(new Variant({ dataType, arrayType: VariantArrayType.Scalar, value }), StatusCodes.Good);
  }
  let count = 0;
  const tick = () => {
    count += 1;
    counters.forEach((counter, number) => counter.setValueFromSource(new Variant({ dataType: DataType.Int32, value: number * 100000 + count }), StatusCodes.Good));
  };
  tick();
  setInterval(tick, 100);
  await server.start();
  process.stdout.write("ready\n");
  process.stdin.on("data", async () => {
    const sessions = server.currentSessionCount;
    process.stdout.write(`sessions ${sessions}\n`);
  });
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
