//! `Deserialize` by way of `FromStr`: the file's scalars are read as text, then parsed as a flag is.

/// Implements `Deserialize` for types with `FromStr`, so that the file and the flags accept the same forms.
macro_rules! deserialize_from_str {
    ($($name:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(super) use deserialize_from_str;

/// An enum of named choices: `FromStr`, `Display`, `NAMES`, and `Deserialize` from one list.
macro_rules! choice {
    (
        $(#[$outer:meta])*
        $type:ident, $what:literal, $accepted:literal;
        $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)?
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$inner])* $variant),+
        }

        impl $type {
            /// Every name, as it is written in the file and on the command line.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name, as it is written in the file and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::config::Rejected;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(crate::config::Rejected::new(text, $what, $accepted)),
                }
            }
        }

        crate::config::text::deserialize_from_str!($type);
    };
}
pub(super) use choice;
