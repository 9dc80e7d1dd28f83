"""almanac.html: one page that answers "what should I run?" from everything that was measured, and shows what is behind
it. Python gathers and packs; the page's own modules answer."""
