// Speed against quality of the quantizations of a model.
export function quality() {
  return { id: "quality", title: "Quality against speed", caption: "Whether the fast quantization is still right.", absent: "Not measured: no cell here was checked for quality.", headers: [], rows: [] };
}
