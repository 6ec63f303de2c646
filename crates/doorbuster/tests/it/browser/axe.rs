//! Every state that a page can show is usable by everyone: axe-core finds nothing, in both schemes of colour, on a phone,
//! a tablet and a desktop, and nothing has to be scrolled sideways.
