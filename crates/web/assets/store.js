/* Stores small JSON values in the browser. If the browser refuses storage, as in private windows,
   the values last as long as the page. */
function over(name) {
  const spare = new Map();
  const area = () => {
    try {
      return window[name];
    } catch {
      return null;
    }
  };
  return {
    get(key) {
      try {
        return JSON.parse(area().getItem('doorbuster.' + key));
      } catch {
        return spare.get(key) ?? null;
      }
    },
    set(key, value) {
      spare.set(key, value);
      try {
        area().setItem('doorbuster.' + key, JSON.stringify(value));
      } catch {
      }
    },
    drop(key) {
      spare.delete(key);
      try {
        area().removeItem('doorbuster.' + key);
      } catch {
        /* The browser refuses storage, so there is no value to delete. */
      }
    },
  };
}
/** Survives reloads of this tab. */
export const tab = over('sessionStorage');
/** All tabs of this browser share these values. */
export const browser = over('localStorage');
