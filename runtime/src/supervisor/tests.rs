use af_packet::Options;

use super::*;
use crate::config::HostInterface;

#[test]
fn a_worker_that_dies_ends_everything_with_its_name() {
    let Ok(sockets) = Sockets::open("eth9") else {
        return; // no CAP_NET_RAW here; with CI=true these run as root
    };
    let host = HostInterface::new("eth9");
    let config = Config {
        interfaces: vec![host.clone()],
        ..Config::default()
    };
    let mut numbers = Numbers::default();
    let plan = Plan::of(&config, &host, &mut numbers).unwrap();
    let device = sockets.map(plan.port.index, &Options::v2()).unwrap();
    let notify = Notify::new().unwrap();
    let (_commands, orders) = unbounded();
    let (tell, events) = unbounded();
    let mut supervisor = Supervisor::new(
        config,
        numbers,
        Vec::new(),
        LinkMonitor::new().unwrap(),
        Reserve {
            capture_folder: None,
            spares: Vec::new(),
            tcp: TcpConfig::default(),
        },
        notify.clone(),
        (orders, tell),
    );
    supervisor.add_port(plan, vec![device]).unwrap();
    let worker = supervisor.tell_us.clone();
    let thread = std::thread::spawn(move || supervisor.run());
    let died = WorkerEvent::Died("it panicked; the message is above".to_owned());
    worker.send((0, died)).unwrap();
    notify.ring();
    let mut said = events.iter();
    let found = said.any(|event| {
        matches!(event, Event::Died(why)
            if why == "worker 0 of eth9 died: it panicked; the message is above")
    });
    assert!(found, "nobody was told");
    thread.join().unwrap();
}
