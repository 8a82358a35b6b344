// Dark and light: as the system says, until the switch says otherwise. Canvases take their colours from the CSS.

import { ofTheBrowser } from "./kept.js"

const NAMES = [
  "bg", "panel", "line", "ink", "soft", "faint", "query", "answer", "slow", "silent", "target", "good", "heard", "edge",
]
const KEPT = "dhtd-theme"

export const ink = { scale: 1 } // colours by name, and how much larger than usual the page's letters are

export function font(size, family = "ui-monospace, monospace", weight = 400) {
  return `${weight} ${size * ink.scale}px ${family}`
}

export function startTheme(button, onChange) {
  const dark = matchMedia("(prefers-color-scheme: dark)")
  const root = document.documentElement
  const kept = ofTheBrowser.getItem(KEPT)
  if (kept === "dark" || kept === "light") root.dataset.theme = kept
  const follow = () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches
    button.setAttribute("aria-pressed", String(isDark))
    const style = getComputedStyle(root)
    ink.scale = parseFloat(style.fontSize) / 14
    for (const name of NAMES) ink[name] = style.getPropertyValue(`--${name}`).trim()
    onChange()
  }
  button.addEventListener("click", () => {
    root.dataset.theme = button.getAttribute("aria-pressed") === "true" ? "light" : "dark"
    ofTheBrowser.setItem(KEPT, root.dataset.theme)
    follow()
  })
  dark.addEventListener("change", follow)
  matchMedia("(forced-colors: active)").addEventListener("change", follow)
  addEventListener("resize", follow)
  follow()
}

export const still = matchMedia("(prefers-reduced-motion: reduce)")
