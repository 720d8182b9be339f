"use strict";

// Copying: what stands in the element that the button names, and nothing else.
async function copy(button) {
  const text = document.getElementById(button.dataset.copies).textContent;
  const status = document.getElementById("said");
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied.";
    button.textContent = "Copied";
  } catch (error) {
    // No clipboard here (an insecure origin, or not allowed): select it instead.
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copies));
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    status.textContent = "Selected; copy it with your keyboard.";
    button.textContent = "Selected";
  }
  window.setTimeout(() => { button.textContent = "Copy"; status.textContent = ""; }, 2000);
}

for (const button of document.querySelectorAll("button[data-copies]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// Filtering: every row says which machines it has a recipe for, by kind.
const search = document.getElementById("search");
if (search) {
  const machine = document.getElementById("machine");
  const kind = document.getElementById("kind");
  const rows = [...document.querySelectorAll("tbody tr[data-name]")];
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");

  const machinesOf = (row, wanted) =>
    wanted === "any"
      ? [row.dataset.published, row.dataset.carried, row.dataset.blocked].join(" ")
      : wanted === "recipe"
        ? [row.dataset.published, row.dataset.carried].join(" ")
        : row.dataset[wanted];

  const shows = (row) => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.every((word) => row.dataset.name.includes(word))) return false;
    if (!machine.value && kind.value === "any") return true;
    const machines = machinesOf(row, kind.value).split(" ").filter(Boolean);
    return machine.value ? machines.includes(machine.value) : machines.length > 0;
  };

  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = !shows(row);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} models`;
    nothing.hidden = shown > 0;
  };

  document.getElementById("tools").hidden = false;
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("tools").addEventListener("reset", () => window.setTimeout(filter));
  search.addEventListener("input", filter);
  machine.addEventListener("change", filter);
  kind.addEventListener("change", filter);
  // A browser may fill the form again when the page is gone back to.
  filter();
}
