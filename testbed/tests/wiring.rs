//! x
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;
use testbed::vlan_client::Method;
use testbed::wiring::{Options, SERVER_ADDRESS, VLAN, Wiring};

#[test]
fn quick() {
    for (name, method, imp) in [("bpf", Method::Program, false), ("relay", Method::Relay, false), ("impaired", Method::Program, true)] {
        let mut w = Wiring::poc(Options { methods: vec![method], impairments: imp.then(Default::default), ..Options::default() }).unwrap();
        w.add_kernel_pod(&[VLAN], SERVER_ADDRESS).unwrap();
        println!("{name} {}", w.client().vlan().unwrap().describe());
        let l = w.kernel_pods()[0].namespace().run(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
        let t = std::thread::spawn(move || {
            let (mut s, _) = l.accept().unwrap();
            let buf = vec![7u8; 1 << 20];
            let start = Instant::now();
            let mut n = 0u64;
            while start.elapsed().as_secs_f64() < 2.0 { s.write_all(&buf).unwrap(); n += 1 << 20; }
            n
        });
        let mut c = w.client().namespace().run(|| TcpStream::connect((SERVER_ADDRESS.0, 80)).unwrap()).unwrap();
        let mut buf = vec![0u8; 1 << 20];
        let start = Instant::now();
        let mut n = 0u64;
        loop { let k = c.read(&mut buf).unwrap(); if k == 0 { break; } n += k as u64; }
        println!("{name}: {:.2} Gb/s", n as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9);
        t.join().unwrap();
    }
}
