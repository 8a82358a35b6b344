// The token of the daemon: from the fragment of the address, which no browser sends, or from a form.

const KEPT = "dhtd-token"

export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token")
  if (given) {
    sessionStorage.setItem(KEPT, given)
    history.replaceState(null, "", location.pathname + location.search)
  }
  return sessionStorage.getItem(KEPT)
}

export function dropToken() {
  sessionStorage.removeItem(KEPT)
}

// Ask for it; resolves with what the visitor has entered.
export function askForToken(dialog, reason) {
  const form = dialog.querySelector("form")
  dialog.querySelector("[data-reason]").textContent = reason
  if (!dialog.open) dialog.showModal()
  return new Promise(resolve => {
    form.onsubmit = event => {
      event.preventDefault()
      const token = form.elements.token.value.trim()
      if (!token) return
      sessionStorage.setItem(KEPT, token)
      form.reset()
      dialog.close()
      resolve(token)
    }
  })
}
