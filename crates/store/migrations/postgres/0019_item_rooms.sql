-- A sale may have a waiting room for each item. item_id is 0 for the room of a whole sale. The row
-- of that room exists for every sale with waiting rooms, because it has the seed of all draws.
ALTER TABLE waiting_room ADD COLUMN item_id bigint NOT NULL DEFAULT 0;
ALTER TABLE waiting_room DROP CONSTRAINT waiting_room_pkey;
ALTER TABLE waiting_room ADD PRIMARY KEY (sale_id, item_id);

ALTER TABLE waiting_room_visitor ADD COLUMN item_id bigint NOT NULL DEFAULT 0;
ALTER TABLE waiting_room_visitor DROP CONSTRAINT waiting_room_visitor_pkey;
ALTER TABLE waiting_room_visitor ADD PRIMARY KEY (sale_id, item_id, buyer);
DROP INDEX waiting_room_visitor_drawn;
CREATE INDEX waiting_room_visitor_drawn ON waiting_room_visitor (sale_id, item_id, lot)
    WHERE lot IS NOT NULL;
DROP INDEX waiting_room_visitor_rank;
CREATE UNIQUE INDEX waiting_room_visitor_rank ON waiting_room_visitor (sale_id, item_id, rank)
    WHERE rank IS NOT NULL;
DROP INDEX waiting_room_visitor_admitted;
CREATE INDEX waiting_room_visitor_admitted ON waiting_room_visitor
    (sale_id, item_id, admitted_until) WHERE admitted_until IS NOT NULL;
