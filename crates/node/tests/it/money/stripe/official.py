"""Prints what Stripe's official library sends and signs, as JSON. The first argument has the
values to send, also as JSON.

Each call goes to the stand-in at `api`, which records the request. The parameters are written here
by hand, as Stripe documents them."""
import json
import sys

import stripe

given = json.loads(sys.argv[1])
stripe.api_key = given["key"]
stripe.api_base = given["api"]
stripe.max_network_retries = 0

order = given["order"]
stripe.checkout.Session.create(
    mode="payment",
    client_reference_id=order,
    metadata={"order": order, "doorbuster": given["mark"]},
    payment_intent_data={"metadata": {"order": order, "doorbuster": given["mark"]}},
    line_items=[{
        "quantity": given["units"],
        "price_data": {"currency": "cny", "unit_amount": 10, "product_data": {"name": given["title"]}},
    }],
    expires_at=given["expires_at"],
    success_url=given["paid_url"],
    cancel_url=given["left_url"],
    idempotency_key=given["checkout_key"],
)
stripe.checkout.Session.expire(given["session"])
stripe.checkout.Session.retrieve(given["session"], expand=["payment_intent.latest_charge"])
stripe.Refund.create(
    payment_intent=given["payment"],
    metadata={"refund": given["refund"], "order": order},
    idempotency_key=given["refund"],
)
stripe.Refund.list(payment_intent=given["payment"], limit=100)

# The library accepts the test's signatures, and the server must accept the library's signatures.
stripe.Webhook.construct_event(given["payload"], given["header"], given["secret"], tolerance=300)
forged = given["header"][:-4] + ("0000" if given["header"][-4:] != "0000" else "1111")
try:
    stripe.Webhook.construct_event(given["payload"], forged, given["secret"], tolerance=300)
    raise SystemExit("the library accepts a forged signature")
except stripe.SignatureVerificationError:
    pass
signed = f'{given["at"]}.{given["next_payload"]}'
signature = stripe.WebhookSignature._compute_signature(signed, given["secret"])
print(json.dumps({"header": f't={given["at"]},v1={signature}'}))
