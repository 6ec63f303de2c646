-- When the visitor left the waiting room before being admitted. NULL: the visitor did not leave.
-- The rank stays. When the rank is admitted, the visitor gets an admission that has already ended.
ALTER TABLE waiting_room_visitor ADD COLUMN left_at bigint;
