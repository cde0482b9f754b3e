//! From a request to its response.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_channel::oneshot;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::service::Service;

use crate::body::FileBody;
use crate::cache::{Age, Entry, Kind, Lookup, Outcome};
use crate::conditional::{Verdict, judge};
use crate::flow::Flow;
use crate::http1::Seat;
use crate::loader::Job;
use crate::respond::{FileFields, Octets, close};
use crate::stats::add;
use crate::target::Target;

/// Answers the requests of whichever connection has the seat.
pub(crate) struct Serve<S> {
    pub(crate) seat: Rc<Seat<S>>,
}

/// A response, now or later. What was cached is ready without an allocation.
#[derive(Debug)]
pub(crate) enum Answer {
    Ready(Option<Response<FileBody>>),
    Later(Box<Later>),
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Later {
    flow: Rc<Flow>,
    parts: Parts,
    traits: Traits,
    wait: Wait,
}

#[derive(Debug)]
enum Wait {
    /// For the rest of the request's body, of which this much may still come.
    Body(Incoming, u64),
    Load(oneshot::Receiver<Outcome>),
    Over,
}

/// What the header lines say, found in one pass.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    hosts: u32,
    bad_host: bool,
    conditional: bool,
    chunked: bool,
}

impl Traits {
    fn of(headers: &HeaderMap) -> Self {
        let mut traits = Self::default();
        for (name, value) in headers {
            match *name {
                header::HOST => {
                    traits.hosts += 1;
                    traits.bad_host |= !value
                        .as_bytes()
                        .iter()
                        .all(|octet| HOST[usize::from(*octet)]);
                }
                header::IF_MATCH
                | header::IF_NONE_MATCH
                | header::IF_MODIFIED_SINCE
                | header::IF_UNMODIFIED_SINCE
                | header::RANGE => traits.conditional = true,
                header::TRANSFER_ENCODING => traits.chunked = true,
                _ => {}
            }
        }
        traits
    }
}

/// RFC 3986, 3.2.2: a registered name, an address, a port.
const HOST: [bool; 256] = {
    let mut host = [false; 256];
    let others = b"-._~%!$&'()*+,;=:[]";
    let mut octet = 0;
    while octet < 128_u8 {
        host[octet as usize] = octet.is_ascii_alphanumeric();
        octet += 1;
    }
    let mut at = 0;
    while at < others.len() {
        host[others[at] as usize] = true;
        at += 1;
    }
    host
};

impl<S> Service<Request<Incoming>> for Serve<S> {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let Some(flow) = &self.seat.flow() else {
            // hyper asks for nobody.
            return Answer::Ready(None);
        };
        let number = flow.answered.get().saturating_add(1);
        flow.answered.set(number);
        let (mut parts, body) = request.into_parts();
        flow.begin(&parts);
        flow.remember(&parts);
        if parts.version != Version::HTTP_11
            || parts.method == Method::CONNECT
            || parts.headers.contains_key(header::UPGRADE)
        {
            flow.marked.set(true);
        }
        if let Some((_, fault)) = flow.fault.get().filter(|(at, _)| *at == number) {
            return flow.refuse_head(&parts, fault.status());
        }
        let traits = Traits::of(&parts.headers);
        let host_missing = traits.hosts == 0 && parts.version != Version::HTTP_10;
        if host_missing || traits.hosts > 1 || traits.bad_host {
            return flow.refuse_and_close(&parts, StatusCode::BAD_REQUEST);
        }
        if body.is_end_stream() {
            return flow.answer(&mut parts, traits);
        }
        let max = flow.shared.options.limits.body_octets;
        if body.size_hint().lower() > max {
            return flow.refuse_and_close(&parts, StatusCode::PAYLOAD_TOO_LARGE);
        }
        if parts.headers.contains_key(header::EXPECT) {
            // RFC 9110, 10.1.1: the final answer, instead of asking for a body nobody needs.
            // hyper closes, as it cannot know whether the body comes anyway.
            return flow.answer(&mut parts, traits);
        }
        let wait = Wait::Body(body, max);
        Answer::Later(Box::new(Later {
            flow: Rc::clone(flow),
            parts,
            traits,
            wait,
        }))
    }
}

impl Future for Answer {
    type Output = Result<Response<FileBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                // hyper does not poll what is finished; if it did, it would wait.
                Self::Ready(response) => {
                    return response
                        .take()
                        .map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
                Self::Later(later) => *self = ready!(later.poll(cx)),
            }
        }
    }
}

impl Later {
    /// Becomes the next answer when what it waits for is there.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let flow = Rc::clone(&self.flow);
        match &mut self.wait {
            Wait::Body(body, left) => loop {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending if flow.expired.get() => {
                        flow.wait_over();
                        let status = StatusCode::REQUEST_TIMEOUT;
                        return Poll::Ready(flow.refuse_and_close(&self.parts, status));
                    }
                    Poll::Pending => {
                        flow.wait(flow.shared.options.limits.body);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(frame))) => {
                        let octets = frame.data_ref().map_or(0, |data| data.len() as u64);
                        let Some(rest) = left.checked_sub(octets) else {
                            flow.wait_over();
                            let status = StatusCode::PAYLOAD_TOO_LARGE;
                            return Poll::Ready(flow.refuse_and_close(&self.parts, status));
                        };
                        *left = rest;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        flow.wait_over();
                        let status = StatusCode::BAD_REQUEST;
                        return Poll::Ready(flow.refuse_and_close(&self.parts, status));
                    }
                    Poll::Ready(None) => {
                        flow.wait_over();
                        self.wait = Wait::Over;
                        return Poll::Ready(flow.answer(&mut self.parts, self.traits));
                    }
                }
            },
            Wait::Load(load) => {
                let outcome = match Pin::new(load).poll(cx) {
                    Poll::Pending if flow.expired.get() => {
                        Outcome::Refused(StatusCode::SERVICE_UNAVAILABLE)
                    }
                    Poll::Pending => {
                        flow.wait(flow.shared.options.limits.load);
                        return Poll::Pending;
                    }
                    Poll::Ready(outcome) => {
                        outcome.unwrap_or(Outcome::Refused(StatusCode::INTERNAL_SERVER_ERROR))
                    }
                };
                flow.wait_over();
                self.wait = Wait::Over;
                Poll::Ready(flow.answer_with(&mut self.parts, self.traits, &outcome))
            }
            Wait::Over => Poll::Pending,
        }
    }
}

/// Stands for a head that moved on.
fn no_parts() -> Parts {
    Request::new(()).into_parts().0
}

impl Flow {
    fn answer(self: &Rc<Self>, parts: &mut Parts, traits: Traits) -> Answer {
        match parts.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => {
                let response = self.shared.loader.rendering.options();
                return self.finish(traits, response);
            }
            Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::PATCH
            | Method::TRACE
            | Method::CONNECT => {
                return self.refuse(parts, traits, StatusCode::METHOD_NOT_ALLOWED);
            }
            _ => return self.refuse(parts, traits, StatusCode::NOT_IMPLEMENTED),
        }
        let path = parts.uri.path().as_bytes();
        let now_ms = self.now_ms();
        if let Some((entry, age)) = self.local.recall(path, now_ms) {
            if age == Age::Due
                && let Some(path) = self.shared.cache.check(&entry)
            {
                self.shared.send(Job::Load { path, now_ms });
            }
            return self.hit(parts, traits, &entry, now_ms);
        }
        let target = match Target::parse(path) {
            Ok(target) => target,
            Err(status) => return self.refuse(parts, traits, status),
        };
        let (lookup, load) = self.shared.cache.look_up(&target.path, now_ms);
        if let Some(path) = load {
            self.shared.send(Job::Load { path, now_ms });
        }
        match lookup {
            Lookup::Hit(entry) => {
                if target.canonical {
                    self.local.remember(path, &entry);
                }
                self.hit(parts, traits, &entry, now_ms)
            }
            Lookup::Wait(load) => {
                add(&self.local.thread.counters.misses, 1);
                let wait = Wait::Load(load);
                let parts = std::mem::replace(parts, no_parts());
                Answer::Later(Box::new(Later {
                    flow: Rc::clone(self),
                    parts,
                    traits,
                    wait,
                }))
            }
            Lookup::Busy => self.refuse(parts, traits, StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn hit(
        self: &Rc<Self>,
        parts: &mut Parts,
        traits: Traits,
        entry: &Arc<Entry>,
        now_ms: u64,
    ) -> Answer {
        add(&self.local.thread.counters.hits, 1);
        entry.touch(now_ms);
        self.answer_entry(parts, traits, entry)
    }

    fn answer_with(
        self: &Rc<Self>,
        parts: &mut Parts,
        traits: Traits,
        outcome: &Outcome,
    ) -> Answer {
        match outcome {
            Outcome::Entry(entry) => self.answer_entry(parts, traits, entry),
            Outcome::Refused(status) => self.refuse(parts, traits, *status),
            Outcome::Stream(file) => {
                let path = parts.uri.path().as_bytes();
                let Ok(target) = Target::parse(path) else {
                    return self.refuse(parts, traits, StatusCode::BAD_REQUEST);
                };
                let fields = FileFields::new(&target.path, &file.stamp);
                let octets = Octets::Streamed(Rc::clone(self), Arc::clone(file));
                self.answer_file(parts, traits, &fields, octets)
            }
        }
    }

    fn answer_entry(self: &Rc<Self>, parts: &mut Parts, traits: Traits, entry: &Entry) -> Answer {
        match &entry.kind {
            Kind::File {
                contents, fields, ..
            } => {
                self.share(contents);
                let octets = Octets::Cached(Arc::clone(contents));
                self.answer_file(parts, traits, fields, octets)
            }
            Kind::Redirect(redirect) => {
                let headers = std::mem::take(&mut parts.headers);
                let is_head = parts.method == Method::HEAD;
                let rendering = &self.shared.loader.rendering;
                let response = rendering.redirect(headers, is_head, redirect, parts.uri.query());
                self.finish(traits, response)
            }
            Kind::Refused(status) => self.refuse(parts, traits, *status),
        }
    }

    fn answer_file(
        self: &Rc<Self>,
        parts: &mut Parts,
        traits: Traits,
        fields: &FileFields,
        octets: Octets,
    ) -> Answer {
        let headers = std::mem::take(&mut parts.headers);
        let is_head = parts.method == Method::HEAD;
        let verdict = if traits.conditional {
            judge(&headers, !is_head, fields)
        } else {
            Verdict::Whole
        };
        let rendering = &self.shared.loader.rendering;
        let response = match verdict {
            Verdict::Whole => rendering.whole(headers, is_head, fields, octets),
            Verdict::Part(span) => rendering.part(headers, fields, octets, span),
            Verdict::NotModified => rendering.not_modified(headers, fields),
            Verdict::Failed => {
                return self.refuse(parts, traits, StatusCode::PRECONDITION_FAILED);
            }
            Verdict::Unsatisfiable => rendering.unsatisfiable(headers, fields),
        };
        self.finish(traits, response)
    }

    fn refuse(self: &Rc<Self>, parts: &Parts, traits: Traits, status: StatusCode) -> Answer {
        let is_head = parts.method == Method::HEAD;
        self.finish(
            traits,
            self.shared.loader.rendering.refusal(status, is_head),
        )
    }

    fn refuse_and_close(&self, parts: &Parts, status: StatusCode) -> Answer {
        let is_head = parts.method == Method::HEAD;
        let mut response = self.shared.loader.rendering.refusal(status, is_head);
        close(&mut response);
        self.note(&mut response);
        Answer::Ready(Some(response))
    }

    /// Answers in the name of a head that hyper did not get to see.
    fn refuse_head(&self, parts: &Parts, status: StatusCode) -> Answer {
        let is_head = parts.method == Method::HEAD;
        let mut response = self.shared.loader.rendering.refusal(status, is_head);
        close(&mut response);
        self.forget_head();
        self.note(&mut response);
        Answer::Ready(Some(response))
    }

    fn finish(&self, traits: Traits, mut response: Response<FileBody>) -> Answer {
        // Behind a chunked body, where the next head begins is a matter of opinion.
        if traits.chunked
            || self.shared.draining.load(Ordering::Relaxed)
            || self.answered.get() >= self.shared.options.limits.requests_per_connection
        {
            close(&mut response);
        }
        self.note(&mut response);
        Answer::Ready(Some(response))
    }

    fn note(&self, response: &mut Response<FileBody>) {
        if let Some(date) = self.local.dates.own(self.now.get()) {
            response.headers_mut().insert(header::DATE, date);
        }
        let status = response.status();
        self.local.thread.counters.response(status);
        self.answered(status, response.body().length());
    }
}
