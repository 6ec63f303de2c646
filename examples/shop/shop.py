"""A sample shop backend: signs buyers in and receives order events. Python 3.9, no packages.

Environment: BUYER_SECRET (the text of Doorbuster's auth.buyer_secret), WEBHOOK_SECRET (whsec_…),
DOORBUSTER_URL, PORT.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

for name in ("BUYER_SECRET", "WEBHOOK_SECRET"):
    if not os.environ.get(name):
        sys.exit(f"set the environment variable {name}")
BUYER_SECRET = os.environ["BUYER_SECRET"].encode()  # text: do not decode it
WEBHOOK_KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
DOORBUSTER_URL = os.environ.get("DOORBUSTER_URL", "http://127.0.0.1:8080")
BODY_BYTES_MAX = 1 << 20
# An order never returns to an earlier state of this list.
STATES = ["reserved", "cancelled", "expired", "paid", "refunded", "refused"]

seen = set()  # event ids; in a real shop: a table with a unique key
orders = {}  # order id -> state; in a real shop: a table


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def buyer_token(buyer):
    """Returns a token (JWT, HS256) that is valid for eight hours."""
    claims = {"sub": buyer, "exp": int(time.time()) + 8 * 3600}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(encode(part) for part in parts)
    mac = hmac.new(BUYER_SECRET, signed, hashlib.sha256).digest()
    return (signed + b"." + encode(mac)).decode()


def is_signed(headers, body):
    """Returns whether the message has a valid signature and a recent time (Standard Webhooks)."""
    event_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > 300:
        return False
    signed = f"{event_id}.{sent_at}.".encode() + body
    mac = hmac.new(WEBHOOK_KEY, signed, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(mac).decode()
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


def handle_event(event):
    """Stores the state of the event's order. An event may arrive twice, or after later events."""
    if event["id"] in seen:
        return
    order = event["data"].get("order")
    if order:
        known = orders.get(order["id"], STATES[0])
        orders[order["id"]] = max(known, order["state"], key=STATES.index)
    seen.add(event["id"])  # after the effect: if the effect fails, the server sends the event again


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/buy":  # a real shop knows the buyer from its own session
            buyer, sale = query.get("buyer", [""])[0], query.get("sale", [""])[0]
            if not buyer or not sale:
                return self.answer(400, "buyer and sale are required")
            page = f"{DOORBUSTER_URL}/sale/{quote(sale, safe='')}#token={buyer_token(buyer)}"
            return self.answer(303, "", {"Location": page})
        if url.path == "/orders":
            return self.answer(200, json.dumps(orders))
        return self.answer(404, "not found")

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if self.path != "/hooks/doorbuster" or length > BODY_BYTES_MAX:
            return self.answer(404, "not found")
        body = self.rfile.read(length)
        if not is_signed(self.headers, body):
            return self.answer(401, "the signature is wrong")
        handle_event(json.loads(body))
        return self.answer(204, "")

    def answer(self, status, text, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Shop)
    print(f"shop listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
