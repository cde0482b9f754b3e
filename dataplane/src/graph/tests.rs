use super::*;
use crate::batch::BATCH_MAX;
use crate::error_drop::ErrorDrop;
use crate::frame::HEADROOM;
use crate::label::Never;
use crate::port::Offload;
use crate::testing::{MemoryPort, slots};
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

crate::labels! {
    enum SplitNext { Odd = "odd", Even = "even" }
}

/// Sends by the parity of the first octet; answers 0xff with `made` frames of its own.
struct Split {
    made: usize,
    due: Option<Duration>,
}

impl Node for Split {
    const NAME: &'static str = "split";
    type Next = SplitNext;
    type Drop = Never;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, SplitNext, Never>,
    ) {
        for frame in batch.drain() {
            match frame.octets()[0] {
                0xff => {
                    out.consume(frame);
                    for _ in 0..self.made {
                        if let Some(mut answer) = out.alloc(1) {
                            answer.octets_mut()[0] = 2;
                            out.send(SplitNext::Even, answer);
                        }
                    }
                }
                octet if octet % 2 == 1 => out.send(SplitNext::Odd, frame),
                _ => out.send(SplitNext::Even, frame),
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.due
    }

    fn on_timer(&mut self, now: Duration, out: &mut Outlets<'_, '_, SplitNext, Never>) {
        self.due = Some(now + Duration::from_secs(1));
        if let Some(mut frame) = out.alloc(1) {
            frame.octets_mut()[0] = 4;
            out.send(SplitNext::Even, frame);
        }
    }
}

struct Output(Rc<RefCell<Vec<usize>>>);

impl Node for Output {
    const NAME: &'static str = "output";
    type Next = Never;
    type Drop = OutputDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, OutputDrop>,
    ) {
        self.0.borrow_mut().push(batch.len());
        for frame in batch.drain() {
            if let Err(frame) = out.transmit(frame) {
                out.drop(OutputDrop::RingFull, frame);
            }
        }
    }
}

crate::labels! {
    enum OutputDrop { RingFull = "ring-full" }
}

struct Rig {
    graph: Graph,
    entry: NodeId<Split>,
    batches: Rc<RefCell<Vec<usize>>>,
}

fn rig(made: usize, due: Option<Duration>) -> Rig {
    let batches = Rc::default();
    let mut builder = GraphBuilder::new();
    let entry = builder.add(Split { made, due });
    let output = builder.add(Output(Rc::clone(&batches)));
    let error_drop = builder.add(ErrorDrop);
    builder
        .connect(entry, SplitNext::Odd, error_drop)
        .connect(entry, SplitNext::Even, output);
    Rig {
        graph: builder.build().unwrap(),
        entry,
        batches,
    }
}

fn turn(rig: &mut Rig, now: u64, octets: &[u8], room: usize) -> (Turn, usize) {
    let mut memory: Vec<[u8; 1]> = octets.iter().map(|octet| [*octet]).collect();
    let mut room = slots(room, HEADROOM + 64);
    let mut port = MemoryPort::new(&mut room, Offload::default());
    let mut batch = Batch::new();
    for buffer in &mut memory {
        batch.push(Frame::new(buffer, 0, 1)).unwrap();
    }
    let turn = rig
        .graph
        .turn(Duration::from_secs(now), rig.entry, &mut batch, &mut port);
    (turn, port.transmitted.len())
}

#[test]
fn an_unconnected_arc_is_refused_by_name() {
    let mut builder = GraphBuilder::new();
    let split = builder.add(Split { made: 0, due: None });
    let error_drop = builder.add(ErrorDrop);
    builder.connect(split, SplitNext::Odd, error_drop);
    let error = builder.build().unwrap_err();
    assert_eq!(
        error,
        BuildError::Unconnected {
            node: "split",
            arc: "even"
        }
    );
    assert!(error.to_string().contains("split: arc `even`"));
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let mut builder = GraphBuilder::new();
    builder.add(ErrorDrop);
    builder.add(ErrorDrop);
    assert_eq!(
        builder.build().unwrap_err(),
        BuildError::Duplicate { node: "error-drop" }
    );
}

#[test]
fn frames_go_where_their_node_sends_them_and_are_counted_there() {
    let mut rig = rig(0, None);
    let (turn, transmitted) = turn(&mut rig, 0, &[1, 2, 3, 4, 6], 10);
    assert_eq!((turn.dispatched, turn.deadline, transmitted), (10, None, 3));
    assert_eq!(rig.graph.dropped("error-drop", "not-wanted"), 2);
    let nodes = &rig.graph.counters().nodes;
    assert_eq!(
        (nodes[0].calls, nodes[0].received, nodes[0].sent),
        (1, 5, 5)
    );
    assert_eq!((nodes[1].received, nodes[1].transmitted), (3, 3));
    assert_eq!(rig.graph.counters().interfaces[0].drops, 2);
}

#[test]
fn more_frames_than_a_batch_holds_reach_the_next_node_in_full_batches() {
    let mut rig = rig(BATCH_MAX + 44, None);
    let (_, transmitted) = turn(&mut rig, 0, &[0xff], BATCH_MAX + 100);
    assert_eq!(transmitted, BATCH_MAX + 44);
    assert_eq!(*rig.batches.borrow(), [BATCH_MAX, 44]);
}

#[test]
fn a_full_port_is_counted_not_lost() {
    let mut rig = rig(8, None);
    let (_, transmitted) = turn(&mut rig, 0, &[0xff, 2], 5);
    assert_eq!(
        transmitted, 5,
        "five answers lie in slots; the sixth frame needs one too"
    );
    assert_eq!(rig.graph.dropped("output", "ring-full"), 1);
}

#[test]
fn a_timer_runs_when_due_and_its_next_deadline_is_told() {
    let mut rig = rig(0, Some(Duration::from_secs(5)));
    let (first, transmitted) = turn(&mut rig, 4, &[], 1);
    assert_eq!(
        (first.deadline, transmitted),
        (Some(Duration::from_secs(5)), 0)
    );
    let (second, transmitted) = turn(&mut rig, 5, &[], 1);
    assert_eq!(
        (second.deadline, transmitted),
        (Some(Duration::from_secs(6)), 1)
    );
    let node = &rig.graph.counters().nodes[0];
    assert_eq!((node.calls, node.made, node.sent), (1, 1, 1));
}

#[test]
fn drawings_name_every_node_and_arc() {
    let rig = rig(0, None);
    let picture = rig.graph.mermaid();
    assert!(picture.contains("split -->|odd| error-drop"), "{picture}");
    assert!(
        rig.graph
            .graphviz()
            .contains("\"split\" -> \"output\" [label=\"even\"]")
    );
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn received_and_made_equal_sent_dropped_and_consumed(
        octets in proptest::collection::vec(any::<u8>(), 0..=BATCH_MAX),
        made in 0usize..20,
        room in 0usize..500,
    ) {
        let mut rig = rig(made, None);
        turn(&mut rig, 0, &octets, room);
        for node in &rig.graph.counters().nodes {
            prop_assert_eq!(
                node.received + node.made,
                node.sent + node.transmitted + node.consumed + node.dropped()
            );
            prop_assert_eq!(node.leaked, 0);
        }
    }
}
