//! Who may hand out a unit this instant: the slot contract and its backends.
