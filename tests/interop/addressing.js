// An OPC UA server of another make (node-opcua) with arrays, enumerations and a big folder, for test_interop_addressing.py.
// usage: node addressing.js PORT
"use strict";
const path = require("node:path");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant, VariantArrayType } = require("node-opcua-variant");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(process.env.INTEROP_HOME, "pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: Number(process.argv[2]), hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityPolicies: [SecurityPolicy.None], securityModes: [MessageSecurityMode.None],
    buildInfo: { productName: "SimulationServer", manufacturerName: "Prosys" },
    serverCapabilities: { maxBrowseContinuationPoints: 5, operationLimits: { maxNodesPerBrowse: 20, maxNodesPerRead: 50 } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.registerNamespace("urn:edge-agent:interop");
  const line = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Line", nodeId: "s=Line" });
  const add = (browseName, more) => own.addVariable({ componentOf: line, browseName, nodeId: `s=${browseName}`, ...more });
  const array = new Variant({ dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: new Int32Array([10, 11, 12, 13, 14, 15]) });
  const matrix = new Variant({ dataType: DataType.Int16, arrayType: VariantArrayType.Matrix, dimensions: [2, 3], value: new Int16Array([1, 2, 3, 4, 5, 6]) });
  add("Array", { dataType: "Int32", valueRank: 1, value: array });
  add("Matrix", { dataType: "Int16", valueRank: 2, arrayDimensions: [2, 3], value: matrix });
  const mode = own.addEnumerationType({ browseName: "Mode", enumeration: [{ value: 0, displayName: "Off" }, { value: 5, displayName: "Auto" }] });
  add("Mode", { dataType: mode, value: new Variant({ dataType: DataType.Int32, value: 5 }) });
  own.addMultiStateDiscrete({ componentOf: line, browseName: "Light", nodeId: "s=Light", enumStrings: ["Red", "Green"], value: 1 });
  const big = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Big", nodeId: "s=Big" });
  for (let number = 0; number < 2500; number += 1) {
    own.addVariable({ componentOf: big, browseName: `V${number}`, nodeId: `s=V${number}`, dataType: "Int32", value: new Variant({ dataType: DataType.Int32, value: number }) });
  }
  await server.start();
  process.stdout.write("ready\n");
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
