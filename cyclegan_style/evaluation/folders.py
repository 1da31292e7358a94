from cyclegan_style.evaluation.definitions import Definition
from cyclegan_style.evaluation.frechet import frechet_of_features
from cyclegan_style.evaluation.kid import KernelDistance, kernel_distance
frechet = frechet_of_features
def kernel(real, fake, definition):
    first, second = (real, fake) if definition.kid_sets == "real first" else (fake, real)
    return kernel_distance(first, second)
