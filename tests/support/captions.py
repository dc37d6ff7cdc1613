"""Captions as people write them, and as somebody would write them to do harm."""

CAPTIONS = (
    "a sign that reads $_$",
    "coffee for $20, cake for $50",
    r"a \frac{1}{ \input{/etc/passwd} of $\nothing{$",
    "火車在雪中行駛，遠處有一座很高的山和一片森林",
    "🦊 in the snow, 👨‍👩‍👧 beside it",
    "قطة حمراء على سطح",
    "one line\nand another \x1b[2J\u202e with codes",
    "a very long caption of very many words " * 300,
    "x" * 3000,
)
ALL = " ".join(CAPTIONS)
