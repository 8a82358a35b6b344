// Numbers and elements as the page shows them.

export function number(value) {
  return value.toLocaleString("en-US")
}

export function count(value, noun) {
  const plural = noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`
  return `${number(value)} ${value === 1 ? noun : plural}`
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–"
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`
}

export function rate(value) {
  return value >= 100 ? number(Math.round(value)) : value.toFixed(1)
}

export function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  const whole = Math.floor(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

// An element with attributes and children; texts are only ever text.
export function make(tag, attributes = {}, ...children) {
  const isDrawn = ["svg", "rect", "path", "line", "text", "circle", "g"].includes(tag)
  const element = isDrawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value)
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value)
  }
  element.append(...children.filter(child => child !== null && child !== undefined))
  return element
}

export const byId = id => document.getElementById(id)

// Disable a button, or not. Where it has the focus, another one gets it: the keyboard must not begin at the top again.
export function disable(button, is, other) {
  if (is && button === document.activeElement) {
    other.disabled = false
    other.focus()
  }
  button.disabled = is
}

// Set a text only where it is another one, so that nothing is laid out or read aloud in vain.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}
