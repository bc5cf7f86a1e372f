//! Promises 5 and 7: whatever a neighbour says, the node doesn't panic, doesn't loop, holds and says no more than its
//! named limits allow, and goes on working for the others. One test a limit: each fails if its limit is taken out.

mod addresses;
mod formats;
mod links;
mod news;
mod records;
mod sets;
mod stage;
