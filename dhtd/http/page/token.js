// The token of the daemon: from the fragment of the address, which no browser sends, or from a form.

import { ofTheTab } from "./kept.js"

const KEPT = "dhtd-token"

// Take the token out of the address; returns whether there was one. The address without it takes its place in the
// history of the tab.
export function takeFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token")
  if (!given) return false
  ofTheTab.setItem(KEPT, given)
  history.replaceState(null, "", location.pathname + location.search)
  return true
}

export function knownToken() {
  return ofTheTab.getItem(KEPT)
}

export function dropToken() {
  ofTheTab.removeItem(KEPT)
}

// Ask for it; resolves with what the visitor has entered. Where the dialog is closed without, `again` opens it.
export function askForToken(dialog, again, reason) {
  const form = dialog.querySelector("form")
  const open = () => {
    again.hidden = true
    if (!dialog.open) dialog.showModal()
  }
  dialog.querySelector("[data-reason]").textContent = reason
  open()
  return new Promise(resolve => {
    again.onclick = open
    dialog.onclose = () => {
      again.hidden = false
      again.focus()
    }
    form.onsubmit = event => {
      event.preventDefault()
      const token = form.elements.token.value.trim()
      if (!token) return
      ofTheTab.setItem(KEPT, token)
      form.reset()
      dialog.onclose = null
      dialog.close()
      resolve(token)
    }
  })
}
