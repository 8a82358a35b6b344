// What the browser keeps for this page. A visitor may have forbidden that: then it is kept while the page is open.

class Nothing {
  constructor() {
    this._items = new Map()
  }

  getItem(name) {
    return this._items.get(name) ?? null
  }

  setItem(name, value) {
    this._items.set(name, value)
  }

  removeItem(name) {
    this._items.delete(name)
  }
}

function found(name) {
  try {
    return window[name]
  } catch (error) {
    if (error.name !== "SecurityError") throw error
    return new Nothing()
  }
}

export const ofTheTab = found("sessionStorage")
export const ofTheBrowser = found("localStorage")
