"""Numbered reasons under a table."""

from dataclasses import dataclass, field

from tasks.reporting.markup import Content, Markup, element


@dataclass(slots=True)
class Notes:
    """Numbered reasons under a table; equal ones once."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> Markup:
        """The number of a reason, to stand beside what it explains."""
        if text not in self.texts:
            self.texts.append(text)
        return element("sup", str(self.texts.index(text) + 1))

    def listed(self) -> Content:
        """All of them, in order; nothing where there are none."""
        return element("ol", [element("li", text) for text in self.texts], class_="notes") if self.texts else None
