//! The push job on simulated servers, and what people decide about its outcome, through the real drivers and the real
//! HTTP stack.

mod accounts;
mod batches;
mod chance;
mod cleanup;
mod corpus;
mod decisions;
mod effects;
mod exactly;
mod histories;
mod mails;
mod meetings;
mod mixed;
mod office;
mod outage;
mod parity;
mod past;
mod table;
mod unanswered;
mod undo;
mod undo_all;
mod unfound;
mod world;
