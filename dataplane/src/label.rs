//! Closed sets of names: the arcs a node has, the reasons a frame can die there.

/// A closed set of names, made by [`labels!`](crate::labels).
pub trait Label: Copy + std::fmt::Debug + 'static {
    /// Every label, in index order.
    const ALL: &'static [Self];
    /// The name in counters, drawings and traces, for example `unknown-vid`.
    fn name(self) -> &'static str;
    /// The position in [`Self::ALL`].
    fn index(self) -> usize;
}

/// The empty set: a node without arcs, or one that never drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl Label for Never {
    const ALL: &'static [Self] = &[];
    fn name(self) -> &'static str {
        match self {}
    }
    fn index(self) -> usize {
        match self {}
    }
}

/// Declares an enum whose variants have names: arcs (`Next`) or drop reasons (`Drop`).
///
/// ```
/// use dataplane::Label;
/// dataplane::labels! {
///     /// Why `demo-input` drops.
///     pub enum DemoDrop {
///         /// Fewer octets than a header.
///         TooShort = "too-short",
///         /// Not ours.
///         NotForUs = "not-for-us",
///     }
/// }
/// assert_eq!(DemoDrop::NotForUs.name(), "not-for-us");
/// assert_eq!(DemoDrop::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $text:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $( $(#[$vmeta])* $variant ),+
        }

        impl $crate::Label for $name {
            const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];
            fn name(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
