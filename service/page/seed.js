// Seeds: whole numbers that every JSON reader has exactly.

/** A seed that is easy to note down. */
export function freshSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
}

/** Fill a seed's field, and let `button` fill it anew. */
export function wireSeed(field, button) {
  field.value = freshSeed();
  button.addEventListener("click", () => (field.value = freshSeed()));
}

/** The number in a field; a fresh seed, shown, where there is none. */
export function seedIn(field) {
  if (field.value === "") field.value = freshSeed();
  return Number(field.value);
}
