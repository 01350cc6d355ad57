/** register.cjs for those who load it by `--import`; `--require` is better: Node before 18.18 refuses `--import`. */
import "./register.cjs";
