// An OPC UA server of another make (node-opcua) with two limit alarms, for test_interop_alarms.py.
// usage: node alarms.js PORT      stdin: "level NUMBER" or "torque NUMBER", one a line: the alarms are up above 100
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(process.env.INTEROP_HOME, "pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: Number(process.argv[2]), hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityPolicies: [SecurityPolicy.None], securityModes: [MessageSecurityMode.None],
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  space.installAlarmsAndConditionsService();
  const own = space.registerNamespace("urn:edge-agent:interop");
  const filler = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Filler", nodeId: "s=Filler", eventNotifier: 1, eventSourceOf: space.rootFolder.objects.server });
  const inputs = {};
  for (const name of ["level", "torque"]) {
    const input = own.addVariable({ componentOf: filler, browseName: name, nodeId: `s=${name}`, dataType: "Double", eventSourceOf: filler });
    input.setValueFromSource(new Variant({ dataType: DataType.Double, value: 50 }), StatusCodes.Good);
    inputs[name] = input;
    own.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
      browseName: `${name}High`, componentOf: filler, conditionSource: input, inputNode: input, conditionName: `${name}High`,
      nodeId: `s=${name}High`, highHighLimit: 1000, highLimit: 100, lowLimit: -100, lowLowLimit: -1000, optionals: ["ConfirmedState", "Confirm"],
    });
  }
  await server.start();
  process.stdout.write("ready\n");
  readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const [name, number] = line.split(" ");
    inputs[name].setValueFromSource(new Variant({ dataType: DataType.Double, value: Number(number) }), StatusCodes.Good);
  });
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
