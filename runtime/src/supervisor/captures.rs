//! Begins and ends captures: a tap for each worker, one writer for all.

use dataplane::IfIndex;

use super::{PortState, Supervisor};
use crate::capture::writer::{Capture, Names};
use crate::capture::{Order, Status};
use crate::error::CaptureError;
use crate::worker::Control;

impl Supervisor {
    pub(super) fn begin_capture(&mut self, order: Order) -> Result<(), CaptureError> {
        if self.capture.as_ref().is_some_and(Capture::is_on) {
            return Err(CaptureError::Running);
        }
        let folder = self
            .reserve
            .capture_folder
            .as_ref()
            .ok_or(CaptureError::NoFolder)?;
        if let Some(name) = &order.interface
            && !self
                .ports
                .iter()
                .any(|port| wanted(port, Some(name)).is_some())
        {
            return Err(CaptureError::NoInterface(name.clone()));
        }
        let file = folder.create(&order.file).map_err(CaptureError::File)?;
        let capture = Capture::start(order, file, self.names(), self.tell.clone());
        self.capture = Some(capture.map_err(CaptureError::System)?);
        for port in &self.ports {
            self.tap(port);
        }
        self.wait_for_workers();
        Ok(())
    }

    /// Gives the workers of `port` taps, if they are captured.
    pub(super) fn tap(&self, port: &PortState) {
        let Some(capture) = self.capture.as_ref().filter(|capture| capture.is_on()) else {
            return;
        };
        let Some(only) = wanted(port, capture.order().interface.as_deref()) else {
            return;
        };
        for worker in &port.workers {
            let tap = capture.tap(port.plan.port.index, only);
            worker.handle.tell(Control::Capture(Some(Box::new(tap))));
        }
    }

    pub(super) fn end_capture(&mut self) -> Option<Status> {
        self.tell_workers(|| Control::Capture(None));
        self.wait_for_workers();
        let mut capture = self.capture.take()?;
        let status = capture.finish();
        Some(status)
    }

    /// The names of all interfaces.
    fn names(&self) -> Names {
        let interfaces = self.ports.iter().flat_map(|port| port.plan.interfaces());
        interfaces
            .map(|one| (one.index, one.name.clone()))
            .collect()
    }

    /// Tells the capture how interfaces are called now.
    pub(super) fn rename_captured(&self) {
        if let Some(capture) = &self.capture {
            capture.rename(self.names());
        }
    }
}

/// Whether packets of `port` are wanted when those of `name` are: all, or only those of one
/// sub-interface.
#[expect(clippy::option_option, reason = "whether, and which")]
fn wanted(port: &PortState, name: Option<&str>) -> Option<Option<IfIndex>> {
    let Some(name) = name else { return Some(None) };
    if port.plan.port.name == name {
        return Some(None);
    }
    let sub = port.plan.subs.iter().find(|(sub, _)| sub.name == name)?;
    Some(Some(sub.0.index))
}
