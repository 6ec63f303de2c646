// A sample shop backend: signs buyers in and receives order events. Node.js 18, no packages.
//
// Environment: BUYER_SECRET (the text of Doorbuster's auth.buyer_secret), WEBHOOK_SECRET (whsec_…),
// DOORBUSTER_URL, PORT.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

for (const name of ["BUYER_SECRET", "WEBHOOK_SECRET"]) {
  if (!process.env[name]) {
    console.error(`set the environment variable ${name}`);
    process.exit(1);
  }
}
const buyerSecret = process.env.BUYER_SECRET; // text: do not decode it
const webhookKey = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const doorbusterUrl = process.env.DOORBUSTER_URL ?? "http://127.0.0.1:8080";
const bodyBytesMax = 1 << 20;
// An order never returns to an earlier state of this list.
const states = ["reserved", "cancelled", "expired", "paid", "refunded", "refused"];

const seen = new Set(); // event ids; in a real shop: a table with a unique key
const orders = {}; // order id -> state; in a real shop: a table

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Returns a token (JWT, HS256) that is valid for eight hours. */
function buyerToken(buyer) {
  const claims = { sub: buyer, exp: Math.floor(Date.now() / 1000) + 8 * 3600 };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", buyerSecret).update(signed).digest("base64url")}`;
}

/** Returns whether the message has a valid signature and a recent time (Standard Webhooks). */
function isSigned(headers, body) {
  const sentAt = Number(headers["webhook-timestamp"]);
  if (!(Math.abs(Date.now() / 1000 - sentAt) <= 300)) return false;
  const mac = createHmac("sha256", webhookKey)
    .update(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`)
    .update(body)
    .digest("base64");
  const expected = Buffer.from(`v1,${mac}`);
  return String(headers["webhook-signature"] ?? "")
    .split(" ")
    .map((signature) => Buffer.from(signature))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
}

/** Stores the state of the event's order. An event may arrive twice, or after later events. */
function handleEvent(event) {
  if (seen.has(event.id)) return;
  const { order } = event.data;
  const isLater = (state, known) => states.indexOf(state) >= states.indexOf(known);
  if (order && isLater(order.state, orders[order.id])) orders[order.id] = order.state;
  seen.add(event.id); // after the effect: if the effect fails, the server sends the event again
}

async function readBody(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > bodyBytesMax) throw new Error("the body is too large");
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function answer(request, response) {
  const url = new URL(request.url, "http://shop");
  if (request.method === "GET" && url.pathname === "/buy") {
    // A real shop knows the buyer from its own session.
    const [buyer, sale] = [url.searchParams.get("buyer"), url.searchParams.get("sale")];
    if (!buyer || !sale) return response.writeHead(400).end("buyer and sale are required");
    const page = `${doorbusterUrl}/sale/${encodeURIComponent(sale)}#token=${buyerToken(buyer)}`;
    return response.writeHead(303, { Location: page }).end();
  }
  if (request.method === "GET" && url.pathname === "/orders") {
    return response.end(JSON.stringify(orders));
  }
  if (request.method === "POST" && url.pathname === "/hooks/doorbuster") {
    const body = await readBody(request);
    if (!isSigned(request.headers, body)) {
      return response.writeHead(401).end("the signature is wrong");
    }
    handleEvent(JSON.parse(body));
    return response.writeHead(204).end();
  }
  return response.writeHead(404).end("not found");
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.writeHead(400).end("the request is malformed"));
});
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`shop listening on http://127.0.0.1:${server.address().port}`);
});
