-- A browser gets messages of the buyer who subscribed last. The index finds the browser's other
-- rows.
CREATE INDEX push_subscription_endpoint ON push_subscription (endpoint);
