// Puts, gets, lists and presigns with the SDK for JavaScript, at the servers
// that the environment names. It runs in the folder that has the packages.
const { createRequire } = require("node:module");
const fs = require("node:fs");
const { Readable } = require("node:stream");
const from = createRequire(process.cwd() + "/");
const { S3Client, PutObjectCommand, GetObjectCommand, ListObjectsV2Command } = from("@aws-sdk/client-s3");
const { getSignedUrl } = from("@aws-sdk/s3-request-presigner");
const { STSClient, GetCallerIdentityCommand } = from("@aws-sdk/client-sts");

function check(ok, ...what) {
  if (!ok) throw new Error("not as it should be: " + what.join(" "));
}

async function main() {
  const Bucket = process.env.BUCKET;
  const keys = fs.readFileSync(process.env.KEYS, "utf8").split("\n");
  for (const endpoint of [process.env.PLAIN, process.env.SECURE]) {
    const client = new S3Client({ endpoint, forcePathStyle: true });
    for (const Key of keys) {
      const body = "snow" + Key;
      await client.send(new PutObjectCommand({ Bucket, Key, Body: body, Metadata: { camera: "a  b" } }));
      const got = await client.send(new GetObjectCommand({ Bucket, Key }));
      check((await got.Body.transformToString()) === body, endpoint, Key);
      const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: 60 });
      check((await (await fetch(url)).text()) === body, url);
      const upload = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key }), { expiresIn: 60 });
      check((await fetch(upload, { method: "PUT", body: "rain" })).status === 200, upload);
    }
    await client.send(new PutObjectCommand({ Bucket, Key: "stream", Body: Readable.from([Buffer.from("snow")]), ContentLength: 4 }));
    const list = new ListObjectsV2Command({ Bucket, Prefix: "a b+c/ü", Delimiter: "/", StartAfter: "&=?" });
    check((await client.send(list)).Contents.length === 1, "list");
  }
  const sts = new STSClient({ endpoint: process.env.STS });
  check((await sts.send(new GetCallerIdentityCommand({}))).Arn.includes(":assumed-role/web/"), "identity");
  console.log("AWS SDK for JavaScript, node " + process.version + ", all good");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
