// Elements. Text is always text: nothing that was measured can become markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(host, ...children) {
  host.replaceChildren(...children.flat(3).filter(Boolean));
}

export function table(caption, headers, rows, { onRow } = {}) {
  const cellOf = (value, index) =>
    index === 0
      ? h("th", { scope: "row" }, value ?? "–")
      : h("td", { class: typeof value === "number" ? "number" : null }, shown(value));
  const body = rows.map((row) => h("tr", {}, row.map(cellOf)));
  if (onRow)
    body.forEach((line, index) =>
      line.firstChild.replaceChildren(
        h("button", { type: "button", class: "link", onclick: () => onRow(index) }, String(rows[index][0])),
      ),
    );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", {}, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          headers.map((name, index) =>
            h(
              "th",
              { scope: "col", class: rows.some((row) => typeof row[index] === "number") ? "number" : null },
              name,
            ),
          ),
        ),
      ),
      h("tbody", {}, body),
    ),
  );
}

function shown(value) {
  if (value === null || value === undefined || value === "") return "–";
  return typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : value;
}
