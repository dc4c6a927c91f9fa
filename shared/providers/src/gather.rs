//! Several pieces of work at once, whose requests travel together.
//!
//! ```text
//! works ─▶ each goes on until it asks something ─▶ all their requests, in as few batches as the provider takes
//!   ▲                                                          │
//!   └──────────────── each gets its own answer ◀───────────────┘
//! ```
//! A work does not know that it is not alone: what it sends, in which order, and what it makes of an answer or a
//! refusal is what it would do by itself. So whatever holds of one write holds of each in a batch. Works that need
//! several requests meet again in the next round.

use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use futures_util::future::{BoxFuture, poll_fn};
use http::{Method, Request};
use tokio::sync::oneshot;

use crate::driver::{DriverError, Problem};

/// What works have asked and nobody has sent yet.
#[derive(Debug)]
pub(crate) struct Gather<R> {
    waiting: Mutex<Vec<Waiting<R>>>,
}

/// A request, and where its answer goes.
#[derive(Debug)]
struct Waiting<R> {
    request: Request<Bytes>,
    answer: oneshot::Sender<Result<R, DriverError>>,
}

/// What came of a batch.
#[derive(Debug)]
pub(crate) enum Batched<R> {
    /// What was answered for each, `None` where nothing was.
    Answered(Vec<Option<R>>),
    /// It was not carried out, and whose fault that is was not said.
    Refused,
}

/// Sends to one provider.
#[async_trait]
pub(crate) trait Carrier: Sync {
    /// What a request comes to.
    type Reply: Send;

    /// Most requests in one batch.
    const MOST: usize;

    /// How many of these requests, the first ones, may be sent now; at least one.
    async fn admitted(&self, methods: &[Method]) -> Result<usize, DriverError>;

    /// Sends one by itself.
    async fn alone(&self, request: Request<Bytes>) -> Result<Self::Reply, DriverError>;

    /// Sends several as one.
    async fn batch(&self, requests: &[Request<Bytes>]) -> Result<Batched<Self::Reply>, DriverError>;
}

impl<R> Default for Gather<R> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Vec::new()) }
    }
}

impl<R: Send> Gather<R> {
    /// Waits until the others ask something as well, and for the answer.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        request: Request<Bytes>,
    ) -> Result<R, DriverError> {
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { request, answer });
        answered.await.unwrap_or_else(|_| Err(unanswered(operation)))
    }

    fn take(&self) -> Vec<Waiting<R>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings the works to their ends; what came of each, in their order. They ask through this and nowhere else.
    pub(crate) async fn run<T: Send>(
        &self,
        carrier: &impl Carrier<Reply = R>,
        works: Vec<BoxFuture<'_, T>>,
    ) -> Vec<T> {
        let mut running: Vec<Option<BoxFuture<'_, T>>> = works.into_iter().map(Some).collect();
        let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
        loop {
            let waiting = poll_fn(|context| {
                for (work, done) in running.iter_mut().zip(&mut done) {
                    if let Some(Poll::Ready(result)) = work.as_mut().map(|work| work.as_mut().poll(context)) {
                        *done = Some(result);
                        *work = None;
                    }
                }
                let waiting = self.take();
                let is_done = running.iter().all(Option::is_none);
                if is_done || !waiting.is_empty() { Poll::Ready(waiting) } else { Poll::Pending }
            })
            .await;
            if waiting.is_empty() {
                return done.into_iter().flatten().collect();
            }
            send(carrier, waiting).await;
        }
    }
}

/// Sends what waits, in as few batches as may be.
async fn send<C: Carrier>(carrier: &C, mut waiting: Vec<Waiting<C::Reply>>) {
    while !waiting.is_empty() {
        let methods: Vec<Method> =
            waiting.iter().take(C::MOST).map(|one| one.request.method().clone()).collect();
        let count = match carrier.admitted(&methods).await {
            Ok(count) => count.clamp(1, waiting.len()),
            Err(error) => return refuse(waiting, &error),
        };
        let rest = waiting.split_off(count);
        send_some(carrier, std::mem::replace(&mut waiting, rest)).await;
    }
}

async fn send_some<C: Carrier>(carrier: &C, waiting: Vec<Waiting<C::Reply>>) {
    let (requests, answers): (Vec<_>, Vec<_>) =
        waiting.into_iter().map(|one| (one.request, one.answer)).unzip();
    let batched = if requests.len() > 1 { carrier.batch(&requests).await } else { Ok(Batched::Refused) };
    match batched {
        Ok(Batched::Answered(replies)) => {
            let mut replies = replies.into_iter();
            for answer in answers {
                let reply = replies.next().flatten().ok_or_else(|| unanswered("send a batch"));
                hand_over(answer, reply);
            }
        }
        Err(error) => {
            tracing::info!(error = &error as &dyn std::error::Error, "a batch was not answered");
            for answer in answers {
                hand_over(answer, Err(error.again()));
            }
        }
        Ok(Batched::Refused) => {
            for (request, answer) in requests.into_iter().zip(answers) {
                hand_over(answer, carrier.alone(request).await);
            }
        }
    }
}

fn refuse<R>(waiting: Vec<Waiting<R>>, error: &DriverError) {
    for one in waiting {
        hand_over(one.answer, Err(error.again()));
    }
}

/// Whoever no longer waits for it has ended.
fn hand_over<R>(answer: oneshot::Sender<Result<R, DriverError>>, reply: Result<R, DriverError>) {
    drop(answer.send(reply));
}

/// It may have been carried out.
fn unanswered(operation: &'static str) -> DriverError {
    let problem = Problem::UnreadableAnswer { reason: "it leaves out a part of what was asked".to_owned() };
    DriverError::new(operation, FailureClass::Transient, problem)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Answers with the path, and remembers how many requests came at once.
    #[derive(Default)]
    struct Echo {
        sent: Mutex<Vec<usize>>,
        refusal: Option<FailureClass>,
        admitted: usize,
    }

    #[async_trait]
    impl Carrier for Echo {
        type Reply = String;
        const MOST: usize = 4;

        async fn admitted(&self, methods: &[Method]) -> Result<usize, DriverError> {
            Ok(methods.len().min(self.admitted))
        }

        async fn alone(&self, request: Request<Bytes>) -> Result<String, DriverError> {
            self.sent.lock().unwrap().push(1);
            Ok(request.uri().to_string())
        }

        async fn batch(&self, requests: &[Request<Bytes>]) -> Result<Batched<String>, DriverError> {
            self.sent.lock().unwrap().push(requests.len());
            match self.refusal {
                Some(FailureClass::Permanent) => Ok(Batched::Refused),
                Some(class) => Err(DriverError::new("x", class, Problem::Throttled)),
                None => {
                    let echo = |request: &Request<Bytes>| Some(request.uri().to_string());
                    Ok(Batched::Answered(requests.iter().map(echo).collect()))
                }
            }
        }
    }

    type Told = Vec<Result<Vec<String>, FailureClass>>;

    /// Works that ask so many questions one after another; what they heard, and how it travelled.
    async fn run(questions: &[usize], echo: Echo) -> (Told, Vec<usize>) {
        let gather = Gather::default();
        let work = |(name, count): (usize, &usize)| {
            let (gather, count) = (&gather, *count);
            async move {
                let mut heard = Vec::new();
                for question in 0..count {
                    let uri = format!("/{name}/{question}");
                    let request = Request::builder().uri(uri).body(Bytes::new()).unwrap();
                    heard.push(gather.ask("x", request).await.map_err(|error| error.class)?);
                }
                Ok(heard)
            }
            .boxed()
        };
        let told = gather.run(&echo, questions.iter().enumerate().map(work).collect()).await;
        (told, echo.sent.into_inner().unwrap())
    }

    #[tokio::test]
    async fn works_hear_their_own_answers_and_meet_in_every_round() {
        let (told, sent) = run(&[1, 0, 2, 3, 1, 1], Echo { admitted: 9, ..Echo::default() }).await;

        let heard = |name: usize, count: usize| Ok((0..count).map(|n| format!("/{name}/{n}")).collect());
        assert_eq!(told, [(0, 1), (1, 0), (2, 2), (3, 3), (4, 1), (5, 1)].map(|(n, c)| heard(n, c)));
        assert_eq!(sent, [4, 1, 2, 1]);
    }

    #[tokio::test]
    async fn no_more_are_sent_than_the_budget_admits() {
        let (told, sent) = run(&[1; 4], Echo { admitted: 3, ..Echo::default() }).await;

        assert!(told.iter().all(Result::is_ok));
        assert_eq!(sent, [3, 1]);
    }

    #[tokio::test]
    async fn a_lost_batch_is_lost_for_each_and_a_refused_one_is_sent_one_by_one() {
        let of = |class| Echo { admitted: 9, refusal: Some(class), ..Echo::default() };

        let (lost, sent) = run(&[1; 3], of(FailureClass::Transient)).await;
        assert_eq!((lost, sent), (vec![Err(FailureClass::Transient); 3], vec![3]));

        let (refused, sent) = run(&[1; 3], of(FailureClass::Permanent)).await;
        assert!(refused.iter().all(Result::is_ok));
        assert_eq!(sent, [3, 1, 1, 1]);
    }
}
