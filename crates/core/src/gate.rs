//! The rules of the front door as values: who may ask for units, and how often. None of them decides stock.
