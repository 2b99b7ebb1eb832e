// An OPC UA server of another make (node-opcua) that talks only encrypted or signed, for test_interop_secure.py.
// usage: node secure.js PORT [USER PASSWORD]   with a user nobody else gets in. Its keys and the clients it trusts are in INTEROP_HOME.
"use strict";
const path = require("node:path");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant } = require("node-opcua-variant");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");

async function main() {
  const [port, user, password] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(process.env.INTEROP_HOME, "pki"), automaticallyAcceptUnknownCertificate: false });
  await certificates.initialize();
  const server = new OPCUAServer({
    port, hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityPolicies: [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss],
    securityModes: [MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: user === undefined, userManager: { isValidUser: (name, secret) => name === user && secret === password },
  });
  await server.initialize();
  const own = server.engine.addressSpace.registerNamespace("urn:edge-agent:interop");
  const count = own.addVariable({ organizedBy: server.engine.addressSpace.rootFolder.objects, browseName: "Count", nodeId: "s=Count", dataType: "Int32" });
  let value = 0;
  const tick = () => count.setValueFromSource(new Variant({ dataType: DataType.Int32, value: (value += 1) }));
  tick();
  setInterval(tick, 50);
  await server.start();
  process.stdout.write("ready\n");
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
