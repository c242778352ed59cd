/* What the theme leaves out for those who read by keyboard or by ear. */
(() => {
  const areas = {
    "div.highlight pre": "code",
    ".table-wrapper": "table",
    "div.math": "formula",
    "div.cell_output": "output",
    "div.cell_output .output": "output",
  };
  const names = { ".sidebar-drawer": "Pages", ".toc-drawer": "On this page" };

  /* What scrolls sideways can be reached, and scrolled by the arrow keys. */
  const reach = () => {
    const count = {};
    for (const [selector, what] of Object.entries(areas)) {
      for (const area of document.querySelectorAll(selector)) {
        if (area.scrollWidth > area.clientWidth + 1) {
          count[what] = (count[what] || 0) + 1;
          area.tabIndex = 0;
          area.setAttribute("role", "region");
          area.setAttribute("aria-label", `${what} ${count[what]}, scrolls sideways`);
        } else if (area.hasAttribute("tabindex")) {
          for (const name of ["tabindex", "role", "aria-label"]) area.removeAttribute(name);
        }
      }
    }
  };

  const label = () => {
    for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");
    for (const [selector, name] of Object.entries(names)) document.querySelector(selector)?.setAttribute("aria-label", name);
    const icons = document.querySelector(".content-icon-container");
    icons?.setAttribute("role", "navigation");
    icons?.setAttribute("aria-label", "Source and appearance");
  };

  window.addEventListener("load", () => { label(); reach(); });
  window.addEventListener("resize", reach);
})();
