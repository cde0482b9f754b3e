//! Things by small number in the order they came.
//!
//! To add one at the end, to take one out wherever it stands, and to tell the first takes the same
//! time whatever their number. Memory is 8 octets per number.

/// No neighbour on that side.
const END: u32 = u32::MAX;

/// As `previous`: not in the order.
const OUT: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// Numbers in the order they were added, each once.
#[derive(Debug)]
pub(super) struct Order {
    links: Vec<Link>,
    first: u32,
    last: u32,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            links: Vec::new(),
            first: END,
            last: END,
        }
    }

    /// Whether `index` is in it.
    pub(super) fn contains(&self, index: u32) -> bool {
        let link = self.links.get(index as usize);
        link.is_some_and(|link| link.previous != OUT)
    }

    /// The one that came first.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != END).then_some(self.first)
    }

    /// Adds `index` at the end; it stays where it is if it is in it.
    pub(super) fn push(&mut self, index: u32) {
        if self.contains(index) {
            return;
        }
        let size = index as usize + 1;
        if self.links.len() < size {
            let out = Link {
                previous: OUT,
                next: END,
            };
            self.links.resize(size, out);
        }
        self.links[index as usize] = Link {
            previous: self.last,
            next: END,
        };
        match self.last {
            END => self.first = index,
            last => self.links[last as usize].next = index,
        }
        self.last = index;
    }

    /// Takes `index` out, if it is in it.
    pub(super) fn remove(&mut self, index: u32) {
        if !self.contains(index) {
            return;
        }
        let link = self.links[index as usize];
        match link.previous {
            END => self.first = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        match link.next {
            END => self.last = link.previous,
            next => self.links[next as usize].previous = link.previous,
        }
        self.links[index as usize].previous = OUT;
    }

    /// Reads what taking `index` out will, to have it in the cache.
    pub(super) fn warm(&self, index: u32) -> u32 {
        let link = |index: u32| self.links.get(index as usize);
        let Some(own) = link(index) else { return 0 };
        let next = |index| link(index).map_or(0, |link| link.next);
        next(own.previous) ^ next(own.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn the_order_agrees_with_a_list(steps in prop::collection::vec((any::<bool>(), 0..40u32), 1..400)) {
            let mut order = Order::new();
            let mut model = VecDeque::new();
            for (add, index) in steps {
                if add {
                    order.push(index);
                    if !model.contains(&index) {
                        model.push_back(index);
                    }
                } else {
                    order.remove(index);
                    model.retain(|other| *other != index);
                }
                prop_assert_eq!(order.first(), model.front().copied());
                prop_assert_eq!(order.contains(index), model.contains(&index));
                order.warm(index);
            }
            while let Some(first) = order.first() {
                order.remove(first);
                prop_assert_eq!(model.pop_front(), Some(first));
            }
            prop_assert!(model.is_empty());
        }
    }
}
