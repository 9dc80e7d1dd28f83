// The document of the page: unpacked, and its columns turned into cells that hold their points.

export async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return read(await new Response(stream).json());
}

export function read(document) {
  const cells = rows(document.cells);
  for (const cell of cells) cell.points = [];
  for (const point of rows(document.points)) cells[point.cell].points.push(point);
  return { ...document, cells: latest(cells), changes: rows(document.changes) };
}

export function rows(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  return Array.from({ length }, (_, index) => Object.fromEntries(names.map((name) => [name, columns[name][index]])));
}

// A cell that was measured in several campaigns counts once: as it was measured last.
function latest(cells) {
  const found = new Map();
  for (const cell of cells) {
    const known = found.get(cell.id);
    if (!known || weight(cell) >= weight(known)) found.set(cell.id, cell);
  }
  return [...found.values()];
}

// A measurement is not put aside by a later attempt that came to nothing.
function weight(cell) {
  return `${cell.points.length ? 1 : 0} ${cell.ended_at}`;
}
