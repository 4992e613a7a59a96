
"use strict";
(() => {
  const body = document.querySelector("tbody"), rows = [...body.rows];
  const find = document.getElementById("find"), output = document.querySelector("output");
  const shows = [...document.querySelectorAll("[name=show]")], heads = [...document.querySelectorAll("th")];

  // The first rows are in the document. The others are texts of a noscript, a line for each, and
  // become rows piece by piece, or all of them as soon as they matter.
  const more = document.getElementById("more");
  let lines = more ? more.textContent.split("\n").filter((line) => line.startsWith("<tr ")) : [];
  const total = rows.length + lines.length;
  const make = (number) => {
    const made = document.createElement("template");
    made.innerHTML = lines.slice(0, number).join("");
    lines = lines.slice(number);
    rows.push(...made.content.children);
    body.append(made.content);
  };
  const makeAll = () => { if (lines.length) make(lines.length); };
  const makeSome = () => { if (lines.length) { make(1000); setTimeout(makeSome); } };
  addEventListener("load", () => setTimeout(makeSome));
  addEventListener("beforeprint", makeAll);

  // Which images are shown. Without scripts, the style does the part of the kinds.
  let texts;
  const filter = () => {
    makeAll();
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) texts ??= rows.map((r) => r.textContent.toLowerCase());
    const kind = shows.find((s) => s.checked)?.value ?? "all";
    let seen = 0;
    rows.forEach((r, i) => {
      r.hidden = !((kind === "all" || r.classList.contains(kind)) && words.every((w) => texts[i].includes(w)));
      if (!r.hidden) seen++;
    });
    say(seen);
    document.querySelector(".none").hidden = seen > 0;
  };
  const say = (seen) => { output.textContent = `${seen.toLocaleString("en")} of ${total.toLocaleString("en")}`; };

  // The order of the images. Columns have a number among the keys of a row, or go by the name.
  const columns = { State: 0, Platforms: 1, Size: 2, "Last success": 3, Behind: 4, Image: "name" };
  const rising = new Set(["State", "Image", "Last success"]);
  let keys, names;
  const sort = (head, direction) => {
    makeAll();
    keys ??= new Map(rows.map((r) => [r, r.dataset.k.split(" ").map(Number)]));
    names ??= new Map(rows.map((r) => [r, r.querySelector("bdi").textContent]));
    const column = columns[head.textContent], sign = direction === "ascending" ? 1 : -1;
    const compare = column === "name" ? (a, b) => (names.get(a) < names.get(b) ? -1 : 1) : (a, b) => keys.get(a)[column] - keys.get(b)[column];
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    body.append(...rows.toSorted((a, b) => sign * compare(a, b)));
  };

  for (const head of heads) {
    const title = head.textContent;
    if (!(title in columns)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = rising.has(title) ? "ascending" : "descending", other = rising.has(title) ? "descending" : "ascending";
      sort(head, now === first ? other : first);
    });
  }
  find.closest("p").hidden = false;
  find.addEventListener("input", filter);
  find.form.addEventListener("submit", (e) => e.preventDefault());
  for (const s of shows) s.addEventListener("change", filter);
  if (shows.every((s) => s.checked === s.defaultChecked) && !find.value) say(total); else filter();
})();
